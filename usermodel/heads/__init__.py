"""What stands on user vectors to answer a question about users."""
