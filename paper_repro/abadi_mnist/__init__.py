"""DP-SGD's first digits: three budgets, principal components learned privately, one hidden layer."""
