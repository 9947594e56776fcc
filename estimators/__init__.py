"""What is measured at a checkpoint. torch lives here; ray, job folders and the command line are unknown here."""
