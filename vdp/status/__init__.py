"""How the dataplane is: rates from samples of its counters, what is wrong now, and a page of both."""

from vdp.status.findings import Finding, findings
from vdp.status.history import History
from vdp.status.page import render
from vdp.status.sample import Rates, Sample, rates

__all__ = ["Finding", "History", "Rates", "Sample", "findings", "rates", "render"]
