"""Spark-distributed hyperparameter search for image classifiers."""
