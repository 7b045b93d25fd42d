"""The MNIST example of Opacus and TensorFlow Privacy."""
