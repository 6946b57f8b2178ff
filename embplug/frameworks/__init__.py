"""What the stores for LangChain, LlamaIndex and other frameworks share; each of them only translates."""
