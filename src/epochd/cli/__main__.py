"""``python -m epochd.cli``, for environments where the script ``epochd`` is not installed."""

from epochd.cli import main

if __name__ == "__main__":
    main()
