"""What a person looks at: ECG sheets, and the plots and pages of a training."""
