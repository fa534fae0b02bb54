"""Twelve-lead ECG recordings in, cardiac diagnoses out; see README.md and `twelvelead --help`.

    import twelvelead

    model = twelvelead.load()
    result = model.predict(signal, frequency_hz=500, leads=("I", "II", "V1"), unit="mV", age=63, sex="female")
    print(result)

The names below are imported when they are first used, so that `import twelvelead` takes no time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data.recording import Recording as Recording
    from .data.recording import read_recording as read_recording
    from .errors import RecordingError as RecordingError
    from .errors import UserError as UserError
    from .prediction.explain import Explanation as Explanation
    from .prediction.model import Model as Model
    from .prediction.model import load as load
    from .prediction.result import ClassResult as ClassResult
    from .prediction.result import Prediction as Prediction

__version__ = "0.1.0"

_MODULE_OF = {
    "load": "prediction.model",
    "Model": "prediction.model",
    "Prediction": "prediction.result",
    "ClassResult": "prediction.result",
    "Explanation": "prediction.explain",
    "Recording": "data.recording",
    "read_recording": "data.recording",
    "RecordingError": "errors",
    "UserError": "errors",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE_OF])
