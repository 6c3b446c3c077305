"""What tests share: applications, clients, servers, and programs that they drive."""
