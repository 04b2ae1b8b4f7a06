"""What people and programs look at: JSON, CSV, figures, page, PDF."""
