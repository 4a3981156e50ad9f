"""`report`: what studies found, on the terminal, as a PDF or as an HTML page."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tuner.commands import options as opt


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "report",
        summary="what studies found: terminal, PDF or HTML",
        description=(
            "Shows winners, gains, costs, importances and the hypothesis ledger. With --output a PDF or a "
            "self-contained HTML page is written, its figures' numbers as CSV files beside it. "
            "Ensembles, calibration and decoding are shown as `ensemble compare` and `inference calibrate`, "
            "`tune` and `evaluate` measured them. Studies are read, not changed."
        ),
        example="python -m tuner report --output results/sweep_summary.html",
    )
    parser.add_argument("studies", nargs="*", metavar="NAME", help="studies (default: all)")
    parser.add_argument("--output", type=Path, action="append", default=[], metavar="FILE.pdf|FILE.html")
    parser.add_argument(
        "--hypotheses", action="store_true", help="the ledger of claims alone, on the terminal"
    )
    parser.add_argument(
        "--pairs",
        type=Path,
        metavar="DIR",
        help="write a study of matched pairs for each undecided claim there",
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="data set shown (default: the only one)")
    parser.add_argument("--json", action="store_true", help="the ledger, for programs")
    opt.add_storage(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from dataclasses import asdict
    from datetime import datetime

    from tuner.base.errors import InputError
    from tuner.claims import material as data
    from tuner.claims import verdicts as ledger
    from tuner.commands.fetch import fetched
    from tuner.show.report import sections, terminal
    from tuner.storage.access import open_records, storage_errors

    for path in options.output:
        if path.suffix not in (".pdf", ".html"):
            raise InputError(f"--output {path}: expected a name that ends in .pdf or .html")
    url = opt.storage_url(options)
    with storage_errors(url):
        records = open_records(url)
        fetched(records, options.studies, options.results)
        material = data.load(
            records, options.studies, options.results, data=_data(options.data), made=datetime.now()
        )
    if options.pairs is not None:
        from tuner.claims import pairs

        for path in pairs.write(material, options.pairs):
            sys.stdout.write(f"python -m tuner study {path}\n")
    if options.json:
        found = [asdict(finding) for finding in ledger.ledger(material)]
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
    elif options.hypotheses:
        terminal.show_ledger(ledger.ledger(material), opt.console())
    elif options.output:
        document = sections.document(material)
        for path in options.output:
            _write(document, path)
            opt.error_console().print(f"wrote {path}, numbers in {path.stem}_data/", markup=False)
    elif options.pairs is None:
        terminal.show(material, opt.console())


def _write(document, path: Path) -> None:  # type: ignore[no-untyped-def]
    if path.suffix == ".html":
        from tuner.show.report import html

        html.write(document, path)
    else:
        from tuner.show.report import pdf

        pdf.write(document, path)


def _data(folder: Path | None) -> Path | None:
    """The data set that was asked for, or the only one there is."""
    if folder is not None:
        return folder
    found = sorted(path.parent for path in Path("data").glob("*/manifest.json"))
    return found[0] if len(found) == 1 else None
