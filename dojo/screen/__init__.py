"""What the learner reads: the verdict, the X-ray, lines."""
