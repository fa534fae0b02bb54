"""Pictures: ECG sheets, and how a training went."""
