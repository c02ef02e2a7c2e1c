"""Knowledge distillation on PaddlePaddle's static graphs.

The road is one way, and every step makes a new value::

    teacher = from_layer(large, {"y": InputSpec([None, 6])})  # or from_static, from_exported
    student = from_layer(small, {"x": InputSpec([None, 6])})
    merged = merge(teacher, student, {"y": "x"})
    distillation = apply(merged, [KDLoss("teacher_output", "output")])
    training = minimize(distillation, make_optimizer)
    losses = [step.loss for step in train(training, batches)]
    export(training, "student", ["output"])  # or student_of, to_layer

A name is public by its line here, ``import name as name``; those of losses by theirs in
`purdist.losses.catalogue`.
"""

__version__ = "0.1.0"

import types as _types
import typing as _typing

from purdist.applying import apply as apply
from purdist.arrays import Feed as Feed
from purdist.checking import Names as Names
from purdist.checking import guard as _guard
from purdist.cutting import cut as cut
from purdist.distillation import Distillation as Distillation
from purdist.errors import BuildError as BuildError
from purdist.errors import CorruptFileError as CorruptFileError
from purdist.errors import DtypeMismatchError as DtypeMismatchError
from purdist.errors import EngineError as EngineError
from purdist.errors import FeedError as FeedError
from purdist.errors import ForeignValueError as ForeignValueError
from purdist.errors import IncompleteMapError as IncompleteMapError
from purdist.errors import InvalidArgumentError as InvalidArgumentError
from purdist.errors import MapDirectionError as MapDirectionError
from purdist.errors import MissingFileError as MissingFileError
from purdist.errors import NameClashError as NameClashError
from purdist.errors import NonFiniteError as NonFiniteError
from purdist.errors import PartialWeightsWarning as PartialWeightsWarning
from purdist.errors import PurdistError as PurdistError
from purdist.errors import PurdistWarning as PurdistWarning
from purdist.errors import RandomInferenceError as RandomInferenceError
from purdist.errors import RankError as RankError
from purdist.errors import RunError as RunError
from purdist.errors import SeveralFaultsError as SeveralFaultsError
from purdist.errors import ShapeMismatchError as ShapeMismatchError
from purdist.errors import StaleCacheError as StaleCacheError
from purdist.errors import StaleCheckpointError as StaleCheckpointError
from purdist.errors import TracingError as TracingError
from purdist.errors import UninitializedWeightsError as UninitializedWeightsError
from purdist.errors import UnknownVariableError as UnknownVariableError
from purdist.errors import UnsafeModelError as UnsafeModelError
from purdist.errors import WriteError as WriteError
from purdist.exporting.inference import export as export
from purdist.exporting.layers import to_layer as to_layer
from purdist.exporting.student import student_of as student_of
from purdist.exporting.weights import load_weights as load_weights
from purdist.exporting.weights import save_weights as save_weights
from purdist.losses import CustomLoss as CustomLoss
from purdist.losses import Label as Label
from purdist.losses import LossSpec as LossSpec
from purdist.losses import Mask as Mask
from purdist.losses import PairLoss as PairLoss
from purdist.losses import Schedule as Schedule
from purdist.losses import StudentVariable as StudentVariable
from purdist.losses import TeacherVariable as TeacherVariable
from purdist.losses.catalogue import *  # noqa: F403
from purdist.merging import join as join
from purdist.merging import merge as merge
from purdist.program import Program as Program
from purdist.serialising import losses_from_data as losses_from_data
from purdist.serialising import losses_to_data as losses_to_data
from purdist.sources.exported import from_exported as from_exported
from purdist.sources.layer import from_layer as from_layer
from purdist.sources.static import from_static as from_static
from purdist.teachers.backend import Backend as Backend
from purdist.teachers.backend import Running as Running
from purdist.teachers.cache import TeacherCache as TeacherCache
from purdist.teachers.caching import cache_teacher as cache_teacher
from purdist.teachers.graph import InGraph as InGraph
from purdist.teachers.inference import Inference as Inference
from purdist.training import Checkpoints as Checkpoints
from purdist.training import MakeOptimizer as MakeOptimizer
from purdist.training import MetricSpec as MetricSpec
from purdist.training import Step as Step
from purdist.training import Training as Training
from purdist.training import evaluate as evaluate
from purdist.training import feeds as feeds
from purdist.training import minimize as minimize
from purdist.training import resume as resume
from purdist.training import save_checkpoint as save_checkpoint
from purdist.training import train as train
from purdist.variables import Dtype as Dtype
from purdist.variables import NewInput as NewInput
from purdist.variables import Role as Role
from purdist.variables import Variable as Variable

if not _typing.TYPE_CHECKING:  # a type checker would take an __all__ for all that there is
    __all__ = [
        name
        for name, thing in globals().items()
        if not (name.startswith("_") or isinstance(thing, _types.ModuleType))
    ]
    _guard(__all__, globals())
