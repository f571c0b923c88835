"""`python -m cnn.report RUN [RUN ...]`: writes the report again, or compares runs."""

from cnn.core.cli import run_job
from cnn.report.page import main

if __name__ == "__main__":
    run_job(main)
