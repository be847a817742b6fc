"""A simulated Data X-Ray tenant: a real HTTP server over replaceable rows, with switches for every wire fault.

The file metadata stream is all it speaks so far; the On-Demand Classifier will get its own module beside
`server`, on the same application and with the same tokens.
"""

from tests.simulators.dxr import faults
from tests.simulators.dxr.bad_lines import BadLines
from tests.simulators.dxr.folder import FolderFiles
from tests.simulators.dxr.generated import GeneratedFiles
from tests.simulators.dxr.server import DxrSimulator, RecordedRequest
from tests.simulators.dxr.sources import Source, Together
from tests.simulators.dxr.wire import Served

__all__ = [
    "BadLines",
    "DxrSimulator",
    "FolderFiles",
    "GeneratedFiles",
    "RecordedRequest",
    "Served",
    "Source",
    "Together",
    "faults",
]
