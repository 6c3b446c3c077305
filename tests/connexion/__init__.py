"""What is true of Connexion only."""
