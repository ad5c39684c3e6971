"""``python -m keepstate`` and the script ``keepstate``: the command line."""

from __future__ import annotations

from keepstate._cli.main import main

if __name__ == "__main__":
    main()
