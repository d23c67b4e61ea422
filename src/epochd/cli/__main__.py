"""``python -m epochd.cli``: the command where no script of that name is installed."""

from epochd.cli import main

if __name__ == "__main__":
    main()
