"""The last word on candidates: MaxSim, exact dense scores, cross-encoders, and the fusion of rankings."""

from __future__ import annotations

from embplug.rerank.maxsim import maxsim, maxsim_codes

__all__ = ["maxsim", "maxsim_codes"]
