"""Playing a training configuration without training: lr, omega and betas of every step, on copies."""
