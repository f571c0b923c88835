"""What tests on made-up input share."""

from hypothesis import HealthCheck, settings

# The folder of a test is used for all its examples: each writes the same few files again.
fuzz = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def is_short(error: Exception) -> None:
    assert 0 < len(str(error)) < 2000
