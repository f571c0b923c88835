"""The worker daemon under the name in Spark's configurations (spark.python.daemon.module)."""

from cnn.spark.daemon import main

if __name__ == "__main__":
    main()
