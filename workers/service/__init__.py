"""The service: jobs over HTTP. Their state is in job folders and in Ray; what is kept beside is made from these."""
