"""What was forgotten, and what was kept: one measure, one file.

`scipy.stats` takes half a second to import, which a service that only answers never needs: the
files here import `scipy`, which loads it at its first use, and take no quantile at import.
"""

from unlearning.verification.membership import (
    Membership,
    class_weighted_auc,
    margins,
    membership_auc,
)
from unlearning.verification.trigger import TriggerRates, trigger_rates
from unlearning.verification.utility import accuracy, class_accuracy

__all__ = [
    "Membership",
    "TriggerRates",
    "accuracy",
    "class_accuracy",
    "class_weighted_auc",
    "margins",
    "membership_auc",
    "trigger_rates",
]
