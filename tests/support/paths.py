"""Where things lie: the one place that knows it."""

from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent
# For the PYTHONPATH of other processes: `import support.x`, and modules that jobs are given.
TESTS = REPOSITORY / "tests"
SUPPORT = TESTS / "support"
CONF_DIR = REPOSITORY / "conf"
