"""Renders a template to a page; all values are escaped."""

from typing import Any

import jinja2

from cnn.core.console import printable
from cnn.report import formats
from cnn.settings.objective import metric_words


def render(template: str, **shown: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cnn.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=printable,
    )
    environment.filters |= {
        "percent": formats.percent,
        "chance": formats.chance,
        "certainty": formats.certainty,
        "points": formats.points,
        "value": formats.readable,
        "count": formats.count,
        "area": formats.area,
        "duration": formats.duration,
        "moment": formats.moment,
        "short_path": formats.short_path,
        "words": formats.words,
        "metric": metric_words,
    }
    return environment.get_template(template).render(**shown)
