"""muster: one hyperparameter search over scattered machines. Floor 0: learning."""
