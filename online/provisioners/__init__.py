"""Provisioners: who may ask for certificates, one file a type, behind one small protocol."""
