// Stylesheets are gathered by the build into one file; importing one has no value.
declare module "*.css";
