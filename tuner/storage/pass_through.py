"""An Optuna storage that passes every call on to another one; subclasses change some of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from optuna.storages import BaseStorage

if TYPE_CHECKING:
    from optuna.storages import InMemoryStorage as CompleteStorage  # for mypy: any storage with all methods
else:
    CompleteStorage = BaseStorage

T = TypeVar("T")


class PassThrough(CompleteStorage):
    """Passes every call on to `backend`."""

    def __init__(self, backend: BaseStorage) -> None:
        self._backend: Any = backend

    def _ask(self, work: Callable[[], T]) -> T:
        """Makes each of the calls that pass through."""
        return work()


def passing(name: str, owner: str = "_backend") -> Callable[..., Any]:
    """The method `name` of the attribute `owner`."""

    def method(self: Any, *arguments: Any, **options: Any) -> Any:
        return self._ask(lambda: getattr(getattr(self, owner), name)(*arguments, **options))

    method.__name__ = name
    return method


for _name in (*BaseStorage.__abstractmethods__, "get_trial_id_from_study_id_trial_number"):
    setattr(PassThrough, _name, passing(_name))
PassThrough.__abstractmethods__ = frozenset()
