"""The work of `minibert export`."""

from types import SimpleNamespace

from minibert.exporting import export

__all__: list[str] = []


def run_export(args: SimpleNamespace) -> None:
    """Do `minibert export`."""
    print(export(args.model, args.folder, int8=args.int8))
