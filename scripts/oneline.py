"""What all scripts share: an error is one line, a file is whole or not there.

This is a module, of Python's own library alone.
"""
import os
import sys


class InputError(Exception):
    """The user's input is wrong. The text names the file, what was found and what was expected."""


def replace_file(path, write):
    """Calls write(temporary name), then renames it to path. On an error nothing is left."""
    temporary = path + ".tmp"
    try:
        write(temporary)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def write_bytes(path, content):
    def write(temporary):
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    replace_file(path, write)


def run(command, interrupted="the lists are not complete"):
    """Calls command() and turns what went wrong into one line on stderr and the exit status."""
    program = os.path.basename(sys.argv[0])
    try:
        command()
    except (InputError, UnicodeDecodeError) as error:
        sys.exit(f"{program}: {error}")
    except OSError as error:
        sys.exit(f"{program}: {error.filename or 'file'}: {error.strerror or error}")
    except KeyboardInterrupt:
        print(f"{program}: interrupted, {interrupted}", file=sys.stderr)
        sys.exit(130)
