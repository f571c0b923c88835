"""What several test modules share: the repository, made-up runs, servers, clusters, faults."""
