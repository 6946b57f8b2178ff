"""An evaluation as one self-contained HTML page."""

from __future__ import annotations

from embplug.evaluation.report.page import report_html

__all__ = ["report_html"]
