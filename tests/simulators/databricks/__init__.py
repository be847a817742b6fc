"""A simulated Databricks workspace: a real HTTP server over a folder, with switches for every refusal and wire fault.

It speaks the Files API, OAuth, and what little of secrets and jobs a landing service may ask for.
"""

from tests.simulators.databricks import faults
from tests.simulators.databricks.exchange import RecordedRequest
from tests.simulators.databricks.fault_plan import FaultPlan
from tests.simulators.databricks.jobs import JobRun
from tests.simulators.databricks.server import DatabricksSimulator

__all__ = ["DatabricksSimulator", "FaultPlan", "JobRun", "RecordedRequest", "faults"]
