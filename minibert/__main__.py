"""The command line, `minibert` or `python -m minibert`: runs a command, and says what went wrong.

The commands are in `minibert/commands`.
"""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import click

from minibert.commands.app import app

__all__: list[str] = []


def kept(folder: Path | None) -> str:
    """Say where what was done so far is."""
    if folder is None:
        return "nothing was written"
    found = [*folder.glob("step-*"), *folder.glob("*/step-*")]  # of GLUE, a run for each task
    if not found:
        return f"{folder} holds no checkpoint yet (see --save-every)"
    last = max(found, key=lambda path: (path.stat().st_mtime, path))
    return f"the last checkpoint is {last}"


def explain(error: click.ClickException) -> str:
    """Say in one line what is wrong with a command's words."""
    text = error.format_message()
    if isinstance(error, click.BadParameter) and type(error) is click.BadParameter:
        named = error.param.opts[0] if error.param else ""
        text = f"{named}: {error.message}"
    command = "minibert"
    if isinstance(error, click.UsageError) and error.ctx:
        command = error.ctx.command_path
    return f"{' '.join(text.split())} (see {command} --help)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        0 when it is done. With one line: 1 when something is wrong, 2
        when it is the flags, 75 when a run was stopped by a signal or
        its time limit and can go on, 130 when from the keyboard.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    run = SimpleNamespace(folder=None)
    try:
        code = app.main(words, "minibert", standalone_mode=False, obj=run)
        sys.stdout.flush()
        return code or 0
    except BrokenPipeError:  # `| head` has read enough; nothing more is to be flushed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (KeyboardInterrupt, click.Abort):
        code, text = 130, f"stopped; {kept(run.folder)}"
        if "step-" in text:
            text += "; the same command goes on from there"
    except InterruptedError as error:  # Stopped; 75 is EX_TEMPFAIL, "try again"
        code, text = 75, f"{error}; {kept(run.folder)}; the same command goes on from there"
    except click.FileError as error:
        code, text = 1, error.format_message()
    except click.ClickException as error:
        code, text = 2, explain(error)
    except FloatingPointError as error:
        mend = "begin again in another folder, with a lower --learning-rate or more warm-up"
        code, text = 1, f"the loss is no number any more, {error}: {mend}; {kept(run.folder)}"
    except ModuleNotFoundError as error:  # says how to install it, in a second line
        code, text = 1, " ".join(str(error).split())
        if error.name == "torch" and "pip install" not in text:
            text = 'this needs torch: pip install "minibert-book[torch]"'
    except OSError as error:
        code, text = 1, str(error)
        if error.strerror and error.filename:  # else it has words of its own
            text = f"{error.filename}: {error.strerror}"
    except (ValueError, TypeError) as error:
        code, text = 1, str(error)
    except (MemoryError, RuntimeError) as error:
        if not re.search("memory|allocate|overflow", str(error)):
            raise
        code, text = 1, f"this needs more memory than there is ({error})".split("\n")[0]
    print(f"minibert: {text}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
