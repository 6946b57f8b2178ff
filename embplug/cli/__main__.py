"""``python -m embplug.cli``."""

from embplug.cli import main

main()
