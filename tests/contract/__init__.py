"""What every online store must do, run against each of them."""
