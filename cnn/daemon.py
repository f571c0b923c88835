"""The worker daemon by the name that Spark's configurations hold (spark.python.daemon.module)."""

from cnn.spark.daemon import main

if __name__ == "__main__":
    main()
