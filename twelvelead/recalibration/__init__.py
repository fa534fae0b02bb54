"""A trained model made to write diagnoses as another hospital does, without training: `twelvelead recalibrate`."""
