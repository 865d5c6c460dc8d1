"""Machine unlearning for Variational Information Bottleneck classifiers.

Usable from a notebook with nothing else of the project: see docs/notebook.md.
"""

from unlearning._snapshot import Snapshot
from unlearning.data import Records, Source, digits, image_folder, mnist
from unlearning.methods import (
    STRATEGIES,
    FineTuneConfig,
    HBUConfig,
    Outcome,
    PaperConfig,
    Problem,
    RFUConfig,
    RFUSSConfig,
    StepReport,
    Strategy,
    VBUConfig,
    lean,
    rungs,
    unlearn,
)
from unlearning.presets import PRESETS, Preset, preset_for
from unlearning.samples import Samples
from unlearning.teacher import Teacher, TeacherConfig, references_digest, train_teacher
from unlearning.training import Cancelled, TrainingConfig, TrainProgress, train
from unlearning.triggers import Trigger
from unlearning.verification import (
    Membership,
    TriggerRates,
    accuracy,
    class_accuracy,
    class_weighted_auc,
    margins,
    membership_auc,
    trigger_rates,
)
from unlearning.vib import (
    VIB,
    Architecture,
    Output,
    Prediction,
    copy_model,
    export_arrays,
    initialise,
    load_arrays,
    vib_loss,
)

__all__ = [
    "PRESETS",
    "STRATEGIES",
    "VIB",
    "Architecture",
    "Cancelled",
    "FineTuneConfig",
    "HBUConfig",
    "Membership",
    "Outcome",
    "Output",
    "PaperConfig",
    "Prediction",
    "Preset",
    "Problem",
    "RFUConfig",
    "RFUSSConfig",
    "Records",
    "Samples",
    "Snapshot",
    "Source",
    "StepReport",
    "Strategy",
    "Teacher",
    "TeacherConfig",
    "TrainProgress",
    "TrainingConfig",
    "Trigger",
    "TriggerRates",
    "VBUConfig",
    "accuracy",
    "class_accuracy",
    "class_weighted_auc",
    "copy_model",
    "digits",
    "export_arrays",
    "image_folder",
    "initialise",
    "lean",
    "load_arrays",
    "margins",
    "membership_auc",
    "mnist",
    "preset_for",
    "references_digest",
    "rungs",
    "train",
    "train_teacher",
    "trigger_rates",
    "unlearn",
    "vib_loss",
]
