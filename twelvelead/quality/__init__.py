"""What is unusual about a recording: leads that are flat, noisy or inverted, and signals that no heart gives."""
