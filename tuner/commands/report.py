"""Shows winners, gains, costs, importances and verdicts on the claims. --output writes a PDF or a
self-contained HTML page, and the numbers of its figures as CSV files. For ensembles, calibration and
decoding, it shows the results of `ensemble compare` and of `inference calibrate`, `tune` and `evaluate`.
--live serves the page on 127.0.0.1: it follows running studies, and its buttons pause and stop them and queue
trials.
"""

from __future__ import annotations

import argparse

from tuner.commands import options as opt


def add(subparsers: opt.Subparsers) -> None:
    parser = opt.subcommand(
        subparsers,
        "report",
        "report the results of studies: terminal, PDF or HTML",
        __doc__,
        "tuner report --output results/sweep_summary.html",
    )
    parser.add_argument("studies", nargs="*", metavar="NAME", help="studies (default: all)")
    parser.add_argument(
        "--output",
        type=opt.report_file,
        action="append",
        default=[],
        metavar="FILE.pdf|FILE.html",
        help="write a report; can be repeated",
    )
    parser.add_argument(
        "--live", action="store_true", help="serve the page on this machine while studies run"
    )
    parser.add_argument(
        "--port", type=opt.port, default=8090, metavar="N", help="port of --live (default: 8090)"
    )
    parser.add_argument("--hypotheses", action="store_true", help="only print the verdicts on claims")
    opt.add_options(parser, "data", help="data set to show (default: the only one)")
    opt.add_options(parser, "json", "storage")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    from dataclasses import asdict

    from tuner.base.errors import InputError
    from tuner.claims import verdicts
    from tuner.show.report import sections, terminal

    if options.live:
        if options.output or options.json or options.hypotheses:
            raise InputError("--live serves the page: leave out --output, --json and --hypotheses")
        from tuner.show.report import live

        records, console = opt.records(options), opt.error_console()
        live.serve(records, options.studies, options.results, port=options.port, console=console)
        return
    material = opt.material(options, options.studies, options.data)
    if options.json:
        opt.write_json([asdict(finding) for finding in verdicts.findings(material)])
    elif options.hypotheses:
        terminal.show_findings(verdicts.findings(material), opt.console())
    elif options.output:
        document = sections.document(material)
        for path in options.output:
            opt.write_report(document, path)
    else:
        terminal.show(material, opt.console())
