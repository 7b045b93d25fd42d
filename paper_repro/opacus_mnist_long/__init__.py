"""The longer settings of the MNIST example of Opacus and TensorFlow Privacy."""
