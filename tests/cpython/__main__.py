"""`python -m tests.cpython [--all] [--list] [--json] [MODULE | MODULE.Class.test ...]`

Runs the tests and prints what failed and a table. `--all`: also those that do not apply. `--list`: run none.
"""

from __future__ import annotations

import sys

from tests.cpython.run import main

sys.exit(main(sys.argv[1:]))
