"""Ray Train runs: the small encoder, the teacher, and every distillation round."""
