"""Embedded models and data, to try libasis on without downloading anything.

- `libasis.demo.modadd`: a one-layer transformer that adds modulo 113, trained until it generalised.
- `libasis.demo.digits`: an MLP that reads scikit-learn's 8x8 digits (needs the extra `libasis[demo]`).

Each has `load()` for the trained model, `splits()` for its train and test data, `batches(...)`, and
`batches_train()` and `batches_test()`, which take no argument. The weights are safetensors files beside their
cards (JSON: seed, settings, accuracies); the repository's `experiments/train_modadd.py` and
`experiments/train_digits.py` made them.
"""
