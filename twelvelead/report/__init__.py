"""One page of HTML on how well outputs agree with labels: figures, curves, subgroups, mistakes as ECG sheets."""
