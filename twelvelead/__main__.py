"""`python -m twelvelead` is the command `twelvelead`; see cli.py."""

import sys

from .cli import main

sys.exit(main())
