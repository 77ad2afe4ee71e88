"""Moving in from another CA: what comes along from a step-ca installation, and what does not."""
