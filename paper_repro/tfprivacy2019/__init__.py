"""The epsilons of TensorFlow Privacy's MNIST tutorial."""
