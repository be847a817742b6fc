"""A simulated Data X-Ray tenant: a real HTTP server over replaceable rows, with switches for every wire fault.

It speaks the file metadata stream and, where it is given a `Classifier` with datasources, the On-Demand Classifier.
"""

from tests.simulators.dxr import classifier_faults, faults, hostile
from tests.simulators.dxr.bad_lines import BadLines
from tests.simulators.dxr.classifier import Classifier
from tests.simulators.dxr.folder import FolderFiles
from tests.simulators.dxr.generated import GeneratedFiles
from tests.simulators.dxr.job_answers import EVERY_WAY, JobAnswers
from tests.simulators.dxr.server import DxrSimulator, RecordedRequest
from tests.simulators.dxr.sources import Source, Together
from tests.simulators.dxr.truth import Truth, truth_of
from tests.simulators.dxr.uploads import UploadedFile
from tests.simulators.dxr.wire import Served

__all__ = [
    "EVERY_WAY",
    "BadLines",
    "Classifier",
    "DxrSimulator",
    "FolderFiles",
    "GeneratedFiles",
    "JobAnswers",
    "RecordedRequest",
    "Served",
    "Source",
    "Together",
    "Truth",
    "UploadedFile",
    "classifier_faults",
    "faults",
    "hostile",
    "truth_of",
]
